-- Keep a dead letter; those beyond the limit, or too old, go.
-- KEYS: order, letters.
-- ARGV: id, when it died (s), data, limit, oldest to keep (s), when to forget all (ms).
-- Returns how many went.
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[5])
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if excess > #old then
  old = redis.call('ZRANGE', KEYS[1], 0, excess - 1)
end
for _, id in ipairs(old) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
redis.call('PEXPIREAT', KEYS[1], ARGV[6])
redis.call('PEXPIREAT', KEYS[2], ARGV[6])
return #old
