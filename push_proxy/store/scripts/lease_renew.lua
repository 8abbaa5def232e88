-- Keep a shard's lease, unless somebody has had it since, or it was released.
-- KEYS: owner, fence. ARGV: owner, its fence, how long (ms). Returns whether it is ours.
if redis.call('GET', KEYS[2]) ~= ARGV[2] .. ' ' .. ARGV[1] then
  return 0
end
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
