-- settle_part: an operation that goes on accounts for what it added so far, also a dying one, which keeps the rest of
-- its reservation as in settle: what it was refunded may still lie in a trash folder (I5). A part whose answer was
-- lost is sent again under its number, and counts once.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 added bytes, 4 bytes to take off its reservation, 5 number of the part, from 1
-- Answers OK | LOST | GONE.
local record, why = operation(ARGV[2])
if not record then
  return {why}
end
if tonumber(record.part or '0') >= tonumber(ARGV[5]) then
  return {'OK'}
end
local reserved = tonumber(record.reserved_bytes)
local less = math.min(reserved, tonumber(record.dying and ARGV[3] or ARGV[4]))
add_used(ARGV[3])
lower('reserved', int(less))
record.reserved_bytes = int(reserved - less)
record.part = ARGV[5]
keep_operation(ARGV[2], record)
return {'OK'}
