-- Create or replace a device if its account is there and its version is the expected one.
-- KEYS: account, devices, marks. ARGV: device, data, version, expected version or '', target.
-- Returns {1, former target}, {0, stored version}, or {-1} without the account.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {-1}
end
local mark = redis.call('HGET', KEYS[3], ARGV[1])
local version, target = 0, ''
if mark then
  version, target = string.match(mark, '^(%d+) (.*)$')
end
if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= tonumber(version) then
  return {0, tonumber(version)}
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3] .. ' ' .. ARGV[5])
return {1, target}
