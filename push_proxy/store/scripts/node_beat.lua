-- Keep a node's record for a time, unless another life of the node has one.
-- KEYS: record. ARGV: incarnation, data, how long (ms), 1 to take its place all the same.
-- Returns the other life's record, or an empty string when ours is kept.
local kept = redis.call('GET', KEYS[1])
if kept and ARGV[4] ~= '1' and cjson.decode(kept)['incarnation'] ~= ARGV[1] then
  return kept
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ''
