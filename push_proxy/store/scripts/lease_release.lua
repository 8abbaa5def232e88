-- Give a shard's lease back, if it is ours.
-- KEYS: owner, fence. ARGV: owner, its fence.
if redis.call('GET', KEYS[2]) == ARGV[2] .. ' ' .. ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[2])
end
