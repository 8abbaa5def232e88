-- Forget a node's record, unless it is another life's. KEYS: record. ARGV: incarnation.
local kept = redis.call('GET', KEYS[1])
if kept and cjson.decode(kept)['incarnation'] == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
