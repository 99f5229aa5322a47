-- settle_part: an operation that goes on accounts for what it added so far, also a dying one.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 added bytes, 4 bytes to take off its reservation
-- Answers OK | LOST | GONE.
local record, why = operation(ARGV[2])
if not record then
  return {why}
end
local reserved = tonumber(record.reserved_bytes)
local less = math.min(reserved, tonumber(ARGV[4]))
add_used(ARGV[3])
lower('reserved', int(less))
record.reserved_bytes = int(reserved - less)
keep_operation(ARGV[2], record)
return {'OK'}
