-- Keeps a value unless another one is kept, or the one that is to give way.
-- KEYS: the value. ARGV: what gives way (as stored, empty: nothing), the new value, ms to live.
-- Returns the value that is kept.
local kept = redis.call('GET', KEYS[1])
if kept and kept ~= ARGV[1] then
  return kept
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
