-- Take the events that are due: for the time of the lease they are due to nobody else.
-- KEYS: due, told, events. ARGV: now (s), end of the lease (s), how many at most.
-- Returns how many wait in all, when the next one is due (or ''), and the data of those taken.
local taken = {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local data = redis.call('HGET', KEYS[3], id)
  if data then
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    taken[#taken + 1] = data
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', KEYS[1]), first[2] or '', taken}
