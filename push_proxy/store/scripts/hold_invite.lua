-- Keep a held INVITE until its deadline. In the call path: three commands, one round trip.
-- KEYS: held. ARGV: call, data, when it may be forgotten (ms).
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3], 'NX')
redis.call('PEXPIREAT', KEYS[1], ARGV[3], 'GT')
return 1
