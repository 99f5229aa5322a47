-- drop_dead: after its fence, a dying operation's reservation becomes used, its record and claims go.
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
drop_operation(ARGV[3], record)
return {'OK', record.reserved_bytes}
