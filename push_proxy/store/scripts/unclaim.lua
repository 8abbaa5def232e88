-- Give a unique name free, if it is still this owner's. KEYS: claim. ARGV: owner.
local stored = redis.call('GET', KEYS[1])
if stored and string.match(stored, '^%S+ (.*)$') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
