-- Erase an account with all that hangs on it.
-- KEYS: keys.all_of_account. Returns what the indexes outside this slot still say of it:
-- {there, aor, token, {device, mark, ...}, {call, ...}, {enrolment code, ...}}.
local stored = redis.call('HMGET', KEYS[1], 'aor', 'token')
local marks = redis.call('HGETALL', KEYS[3])
local calls = redis.call('ZRANGE', KEYS[7], 0, -1)
local codes = redis.call('SMEMBERS', KEYS[9])
local there = redis.call('EXISTS', KEYS[1])
redis.call('DEL', unpack(KEYS))
return {there, stored[1] or '', stored[2] or '', marks, calls, codes}
