-- Add events to a webhook's outbox, due at once; beyond the limit the oldest go.
-- KEYS: due, told, events. ARGV: limit, when to forget all (ms), then for each event: id, when it
-- was told (s), data. Returns how many went.
for i = 3, #ARGV, 3 do
  redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
end
local excess = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
local dropped = 0
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, excess - 1)) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    dropped = dropped + 1
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIREAT', key, ARGV[2])
end
return dropped
