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
for n = 3, #ARGV do
  if redis.call('HEXISTS', CONDEMNED, ARGV[n]) == 1 then
    return {'CONDEMNED'}
  end
end
local claimed = {}
for _, member in ipairs(record.claims) do
  claimed[member] = true
end
for n = 3, #ARGV do
  if not claimed[ARGV[n]] then
    claimed[ARGV[n]] = true
    record.claims[#record.claims + 1] = ARGV[n]
    redis.call('HINCRBY', CLAIMS, ARGV[n], 1)
  end
end
keep_operation(ARGV[2], record)
return {'OK'}
