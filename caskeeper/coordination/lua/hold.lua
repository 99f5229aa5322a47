-- hold: claims for a live operation, unless one of them is condemned; all or none (safety.md section 9).
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3.. `root:<hash>` and `ref:<name>`
-- Answers OK | CONDEMNED | LOST | UNREADY | GONE | DYING.
if not READY then
  return {'UNREADY'}
end
local record, why = operation(ARGV[2])
if not record then
  return {why}
elseif record.dying then
  return {'DYING'}
end
if not claim_from(3, record) then
  return {'CONDEMNED'}
end
keep_operation(ARGV[2], record)
return {'OK'}
