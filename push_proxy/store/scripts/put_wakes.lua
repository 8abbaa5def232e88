-- Add a device's wakes to its newest ones, unless the device is gone.
-- KEYS: devices, wakes. ARGV: device, how many to keep, then call and data of each, oldest first.
-- A device's wakes are lines, newest first. A call that is there already was put before.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local lines = redis.call('HGET', KEYS[2], ARGV[1]) or ''
for i = 3, #ARGV, 2 do
  if not string.find(lines, '"call":"' .. ARGV[i] .. '"', 1, true) then
    lines = ARGV[i + 1] .. '\n' .. lines
  end
end
local last = 0
for _ = 1, tonumber(ARGV[2]) do
  last = string.find(lines, '\n', last + 1, true) or #lines
end
redis.call('HSET', KEYS[2], ARGV[1], string.sub(lines, 1, last))
return 1
