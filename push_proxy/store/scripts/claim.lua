-- Claim a unique name for an owner.
-- KEYS: claim. ARGV: owner, now, a former owner known to have lost it or ''; a claim older than
-- now minus ARGV[4] seconds is taken from that one (a younger one may be on its way).
-- Returns '' when it was ours, 'new' when it is now, else the owner.
local stored = redis.call('GET', KEYS[1])
if stored then
  local since, owner = string.match(stored, '^(%S+) (.*)$')
  if owner == ARGV[1] then
    return ''
  end
  if owner ~= ARGV[3] or tonumber(since) > tonumber(ARGV[2]) - tonumber(ARGV[4]) then
    return owner
  end
end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[1])
return 'new'
