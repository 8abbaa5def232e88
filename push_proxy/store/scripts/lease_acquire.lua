-- Take a shard's lease when nobody has it, or a former life of the same node.
-- KEYS: owner, fence. ARGV: owner ('node incarnation'), 'node ', how long (ms).
-- Returns {our fence or '', who had it last and did not release it, or ''}.
local held = redis.call('GET', KEYS[1])
local last = redis.call('GET', KEYS[2]) or ''
local fence, former = string.match(last, '^(%d+) ?(.*)$')
if held == ARGV[1] and former == held then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {fence, ''}
end
if held and string.sub(held, 1, #ARGV[2]) ~= ARGV[2] then
  return {'', held}
end
-- Not only one more: a replica that missed the last changes, or a backup, knows a lower number
-- than some node does, but its time has gone on.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local next = string.format('%.0f', math.max((tonumber(fence) or 0) + 1, now_ms))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], next .. ' ' .. ARGV[1])
return {next, former or ''}
