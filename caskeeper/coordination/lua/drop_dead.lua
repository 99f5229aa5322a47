-- drop_dead: after its fence, a dying operation's reservation becomes used, its record and claims go.
-- What of it was never written makes the estimate too high until a recount: remembered as converted.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 operation
-- Answers OK, converted bytes | ALIVE | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
local record, why = operation(ARGV[3])
if not record then
  return {why == 'GONE' and 'OK' or why, '0'}
elseif not record.dying then
  return {'ALIVE'}
end
add_used(record.reserved_bytes)
if tonumber(record.reserved_bytes) > 0 then
  redis.call('HINCRBY', USAGE, 'converted', record.reserved_bytes)
end
drop_operation(ARGV[3], record)
return {'OK', record.reserved_bytes}
