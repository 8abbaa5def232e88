-- Forget dead letters: those named, or all.
-- KEYS: order, letters. ARGV: ids. Returns how many there were.
if #ARGV == 0 then
  local count = redis.call('ZCARD', KEYS[1])
  redis.call('DEL', KEYS[1], KEYS[2])
  return count
end
local count = 0
for _, id in ipairs(ARGV) do
  count = count + redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
return count
