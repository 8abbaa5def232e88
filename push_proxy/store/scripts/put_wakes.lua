-- Add a device's wakes to its newest ones, unless the device is gone.
-- KEYS: devices, wakes. ARGV: device, how many to keep, the call that is believed to be the
--       newest or '', then call and data of each, oldest first.
-- A device's wakes are lines, newest first. A call that is there already was put before.
-- Returns 0 when another call was the newest.
local function is_in(lines, call)
  return string.find(lines, '"call":"' .. call .. '"', 1, true)
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 1
end
local lines = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local known = lines == ''
if ARGV[3] ~= '' then
  known = is_in(string.match(lines, '^[^\n]*'), ARGV[3])
end
for i = 4, #ARGV, 2 do
  if not is_in(lines, ARGV[i]) then
    lines = ARGV[i + 1] .. '\n' .. lines
  end
end
local last = 0
for _ = 1, tonumber(ARGV[2]) do
  last = string.find(lines, '\n', last + 1, true) or #lines
end
redis.call('HSET', KEYS[2], ARGV[1], string.sub(lines, 1, last))
return known and 1 or 0
