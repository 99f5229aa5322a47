-- settle: the end of an operation, also of a dying one; what it added counts as used.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 added bytes
-- Answers OK | LOST | GONE.
local record = operation(ARGV[2])
if not record then
  return {'GONE'}
end
add_used(ARGV[3])
drop_operation(ARGV[2], record)
return {'OK'}
