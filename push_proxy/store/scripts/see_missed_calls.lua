-- Forget missed calls that somebody has seen: those named, and all up to one of them. They are
-- remembered as seen, so that a write of theirs that is late does not bring them back.
-- KEYS: account, missed, missed-data, missed-seen.
-- ARGV: now (s), how many to remember, when to forget those (ms), up to which call ('' for none),
--       call, ...
-- Returns those that were there.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local seen = {}
local function see(call, at)
  if redis.call('ZREM', KEYS[2], call) == 1 then
    seen[#seen + 1] = call
  end
  redis.call('HDEL', KEYS[3], call)
  redis.call('ZADD', KEYS[4], 'NX', at, call)
end
for number = 5, #ARGV do
  see(ARGV[number], redis.call('ZSCORE', KEYS[2], ARGV[number]) or ARGV[1])
end
if ARGV[4] ~= '' then
  local last = redis.call('ZSCORE', KEYS[2], ARGV[4]) or redis.call('ZSCORE', KEYS[4], ARGV[4])
  if last then
    local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', last, 'WITHSCORES')
    for number = 1, #found, 2 do
      see(found[number], found[number + 1])
    end
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -(tonumber(ARGV[2]) + 1))
redis.call('PEXPIREAT', KEYS[4], ARGV[3])
return seen
