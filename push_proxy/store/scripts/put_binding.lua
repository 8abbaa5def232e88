-- Keep a device's binding, unless its account is gone.
-- KEYS: account, bindings. ARGV: device, data, when it may be forgotten (ms), the node that took
-- it (or empty), and until when another node's must have been heard to be older.
-- Returns 2 when another node's newer one is kept.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[4] ~= '' then
  local kept = redis.call('HGET', KEYS[2], ARGV[1])
  if kept then
    local other = cjson.decode(kept)
    if (other['node'] or '') ~= ARGV[4] and (other['heard_at'] or 0) > tonumber(ARGV[5]) then
      return 2
    end
  end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIREAT', KEYS[2], ARGV[3], 'NX')
redis.call('PEXPIREAT', KEYS[2], ARGV[3], 'GT')
return 1
