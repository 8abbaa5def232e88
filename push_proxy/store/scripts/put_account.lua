-- Create or replace an account if its version is the expected one.
-- KEYS: account. ARGV: data, version, expected version or '', aor, contact token.
-- Returns {1, former aor, former token}, or {0, stored version}.
local stored = redis.call('HMGET', KEYS[1], 'version', 'aor', 'token')
local version = tonumber(stored[1] or '0')
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= version then
  return {0, version}
end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'version', ARGV[2], 'aor', ARGV[4], 'token', ARGV[5])
return {1, stored[2] or '', stored[3] or ''}
