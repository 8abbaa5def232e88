-- Write a log's content anew, unless it has been removed.
-- KEYS: app-log-data. ARGV: field, content.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
