-- job_read: what is written down about a job.
-- KEYS  1 record, 2 waiters
-- ARGV  1 id
-- Answers OK, '1' = there is a record, then names and values in turn.
local job = hash(KEYS[1])
if not job.state then
  return {'OK', '0'}
end
job.waiters = int(count_waiters(KEYS[2]))
local answer = {'OK', '1'}
for _, word in ipairs(told(job)) do
  answer[#answer + 1] = word
end
return answer
