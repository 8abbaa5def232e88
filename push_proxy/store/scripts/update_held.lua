-- Keep how a held INVITE's devices stand, unless it has been released.
-- KEYS: held. ARGV: call, field of its devices, data.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
