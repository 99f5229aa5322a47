-- finish_recount: used is what the scan found and everything added since it began (safety.md section 6).
-- Who ended as «fenced» (settle) after this run had reaped still has the rest of its reservation: «converted» stays,
-- as large as those rests, and has upkeep ask for the next recount, which converts them. One without a rest counts
-- as a byte: what it told as added may be too much. Nobody else who is dying counts: that one's cleanup is at work, or
-- cannot end it, and one recount would follow the other.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 scanned bytes, 4 added_total when the scan began
-- Answers OK, used | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
local added = tonumber(redis.call('HGET', USAGE, 'added_total')) - tonumber(ARGV[4])
local used = int(tonumber(ARGV[3]) + added)
redis.call('HSET', USAGE, 'used', used)
local left = 0
for _, text in pairs(entries(OPERATIONS)) do
  local record = operation_of(text)
  -- The next run drops whoever is dying. A mark on one that lives is junk, and would be recounted again and again.
  if record and record.dying and record.ended == true then
    left = left + math.max(1, tonumber(record.reserved_bytes))
  end
end
if left > 0 then
  redis.call('HSET', USAGE, 'converted', int(left))
else
  redis.call('HDEL', USAGE, 'converted')
end
redis.call('HSET', STATE, 'known', '1')
return {'OK', used}
