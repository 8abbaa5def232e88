-- Keep what was said of a mailbox, unless its account is gone.
-- KEYS: account, mailbox. ARGV: data, when to forget it (ms).
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PXAT', ARGV[2])
return 1
