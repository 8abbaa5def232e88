-- Keep a log of a device's app, unless the device is gone; too many, too old: go.
-- KEYS: devices, app-logs, app-log-data. ARGV: device, id, what is known of it, content,
--       how many to keep, oldest to keep (s), when to forget all (ms).
-- What is known of a device's logs are lines, newest first.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local lines = ARGV[3] .. '\n' .. (redis.call('HGET', KEYS[2], ARGV[1]) or '')
local kept, count = '', 0
for line in string.gmatch(lines, '[^\n]+') do
  local log = cjson.decode(line)
  if count < tonumber(ARGV[5]) and log.at >= tonumber(ARGV[6]) then
    kept, count = kept .. line .. '\n', count + 1
  else
    redis.call('HDEL', KEYS[3], ARGV[1] .. '/' .. log.id)
  end
end
redis.call('HSET', KEYS[2], ARGV[1], kept)
redis.call('HSET', KEYS[3], ARGV[1] .. '/' .. ARGV[2], ARGV[4])
redis.call('PEXPIREAT', KEYS[2], ARGV[7])
redis.call('PEXPIREAT', KEYS[3], ARGV[7])
return 1
