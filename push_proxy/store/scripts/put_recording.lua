-- Keep a call's recorded SIP, unless its account is gone; too many, too old: go.
-- KEYS: account, recordings, recordings-data.
-- ARGV: call, when it began (s), data, how many to keep, oldest to keep (s), when to forget all (ms).
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[5])
local excess = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
if excess > #old then
  old = redis.call('ZRANGE', KEYS[2], 0, excess - 1)
end
for _, call in ipairs(old) do
  redis.call('ZREM', KEYS[2], call)
  redis.call('HDEL', KEYS[3], call)
end
if redis.call('PEXPIRETIME', KEYS[2]) < tonumber(ARGV[6]) then
  -- Later than asked for by a little, so that not each call of an account moves it.
  local until_ms = ARGV[6] + (ARGV[6] - ARGV[5] * 1000) / 64
  redis.call('PEXPIREAT', KEYS[2], string.format('%d', until_ms))
  redis.call('PEXPIREAT', KEYS[3], string.format('%d', until_ms))
end
return 1
