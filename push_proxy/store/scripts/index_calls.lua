-- Make calls findable within their tenant, and by their SIP Call-IDs.
-- KEYS: calls of the tenant, then for each call: calls of its SIP Call-ID.
-- ARGV: calls to keep, oldest start to keep (s), when to forget all (ms), then for each call: its
-- start (s), its member.
for i = 2, #KEYS do
  local start, member = ARGV[2 * i], ARGV[2 * i + 1]
  redis.call('ZADD', KEYS[1], start, member)
  redis.call('ZADD', KEYS[i], start, member)
  redis.call('PEXPIREAT', KEYS[i], ARGV[3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1
