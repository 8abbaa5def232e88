-- Keep an event as it is now, due later, unless it has been removed.
-- KEYS: due, told, events. ARGV: id, when it is due (s), data.
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return 1
