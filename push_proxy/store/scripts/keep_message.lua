-- Keep an accepted MESSAGE behind those that are there, unless there are too many.
-- KEYS: account, messages, messages-until, messages-size, message-data.
-- ARGV: id, when it came (s), until when it is worth anything (s), bytes of its body, data,
--       now (s), how many to keep, how many bytes to keep, when to forget all (ms).
-- Returns kept, there, full or gone.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'gone'
end
if redis.call('HEXISTS', KEYS[5], ARGV[1]) == 1 then
  return 'there'
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[6])) do
  redis.call('ZREM', KEYS[2], old)
  redis.call('ZREM', KEYS[3], old)
  redis.call('HDEL', KEYS[4], old)
  redis.call('HDEL', KEYS[5], old)
end
local size = tonumber(ARGV[4])
for _, bytes in ipairs(redis.call('HVALS', KEYS[4])) do
  size = size + tonumber(bytes)
end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[7]) or size > tonumber(ARGV[8]) then
  return 'full'
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[5])
for number = 2, 5 do
  if redis.call('PTTL', KEYS[number]) < ARGV[9] - ARGV[6] * 1000 then
    redis.call('PEXPIREAT', KEYS[number], ARGV[9])
  end
end
return 'kept'
