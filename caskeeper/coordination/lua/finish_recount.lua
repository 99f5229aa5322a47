-- finish_recount: used is what the scan found and everything added since it began (safety.md section 6).
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 scanned bytes, 4 added_total when the scan began
-- Answers OK, used | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
local added = tonumber(redis.call('HGET', USAGE, 'added_total')) - tonumber(ARGV[4])
local used = int(tonumber(ARGV[3]) + added)
redis.call('HSET', USAGE, 'used', used)
redis.call('HDEL', USAGE, 'converted')
redis.call('HSET', STATE, 'known', '1')
return {'OK', used}
