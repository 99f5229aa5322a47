-- reserve: so many more bytes may be written, if they fit below the limit (I5).
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 bytes, 4 limit in bytes
-- Answers OK | FULL | LOST | GONE | DYING.
local record, why = operation(ARGV[2])
if not record then
  return {why}
elseif record.dying then
  return {'DYING'}
end
local now = redis.call('HMGET', USAGE, 'used', 'reserved')
if tonumber(now[1]) + tonumber(now[2]) + tonumber(ARGV[3]) > tonumber(ARGV[4]) then
  return {'FULL'}
end
redis.call('HINCRBY', USAGE, 'reserved', ARGV[3])
record.reserved_bytes = int(tonumber(record.reserved_bytes) + tonumber(ARGV[3]))
keep_operation(ARGV[2], record)
return {'OK'}
