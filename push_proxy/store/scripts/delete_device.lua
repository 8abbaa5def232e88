-- Erase a device with its binding, wakes and logs; with a target, only if it still has that target.
-- KEYS: keys.with_device. ARGV: device, target or ''.
-- Returns {there, its target}.
local mark = redis.call('HGET', KEYS[2], ARGV[1])
local target = ''
if mark then
  target = string.match(mark, '^%d+ (.*)$')
end
if ARGV[2] ~= '' and ARGV[2] ~= target then
  return {0, target}
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
for line in string.gmatch(redis.call('HGET', KEYS[5], ARGV[1]) or '', '[^\n]+') do
  redis.call('HDEL', KEYS[6], ARGV[1] .. '/' .. cjson.decode(line).id)
end
redis.call('HDEL', KEYS[5], ARGV[1])
return {redis.call('HDEL', KEYS[1], ARGV[1]), target}
