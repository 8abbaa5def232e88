-- Forget a device's binding, unless another node has taken one since.
-- KEYS: bindings. ARGV: device, the node whose binding is meant.
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  local node = cjson.decode(kept)['node'] or ''
  if node == '' or node == ARGV[2] then
    return redis.call('HDEL', KEYS[1], ARGV[1])
  end
end
return 0
