-- Write a registration, unless a higher fence keeps us away; with no data: forget it.
-- KEYS: registration ('fence data'). ARGV: fence, data or '', until when (ms).
-- Returns whether it was written.
local kept = redis.call('GET', KEYS[1]) or ''
if tonumber(string.match(kept, '^(%d+) ') or '0') > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PXAT', ARGV[3])
return 1
