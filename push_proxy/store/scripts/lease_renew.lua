-- Keep a shard's lease, unless somebody has had it since, or it was released.
-- KEYS: owner, fence. ARGV: owner, its fence, how long (ms), '1': nobody else can have it, as its
-- owner knows, even if we know nothing (a server that came back empty).
-- Returns 0: it is not ours; 1: it is; 2: it is, and we knew nothing of it.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
  return 0
end
local last = redis.call('GET', KEYS[2])
if not last and ARGV[4] == '1' then
  redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. ARGV[1])
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  return 2
end
if last ~= ARGV[2] .. ' ' .. ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
