-- Write a dead letter anew, unless it has been removed.
-- KEYS: order, letters. ARGV: id, data.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return 1
