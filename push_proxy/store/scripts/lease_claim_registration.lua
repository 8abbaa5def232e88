-- Keep writers with lower fences away from a registration.
-- KEYS: registration ('fence data'; 'data' from before there were fences). ARGV: fence, how long
-- to remember it when there is no registration (ms).
-- Returns {whether the fence is high enough, the data or ''}.
local kept = redis.call('GET', KEYS[1]) or ''
local fence, data = string.match(kept, '^(%d+) (.*)$')
if not fence then
  fence, data = '0', kept
end
if tonumber(fence) > tonumber(ARGV[1]) then
  return {0, ''}
end
if kept == '' then
  redis.call('SET', KEYS[1], ARGV[1] .. ' ', 'PX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. data, 'KEEPTTL')
end
return {1, data}
