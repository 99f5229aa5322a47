-- jobs_list: the newest jobs, the last sent first.
-- KEYS  1 the log of jobs
-- ARGV  1 how many, 2 only in this state, '' = all, 3 only of this lane, '' = all
-- Answers OK, then one list of names and values per job.
clear_other(KEYS[1], 'zset')
local answer, first, most = {'OK'}, 0, tonumber(ARGV[1])
repeat
  local page = redis.call('ZREVRANGE', KEYS[1], first, first + 199)
  first = first + 200
  for _, id in ipairs(page) do
    local job = record(id)
    local wanted = job.state and (ARGV[2] == '' or job.state == ARGV[2]) and (ARGV[3] == '' or job.lane == ARGV[3])
    if wanted and #answer <= most then
      answer[#answer + 1] = told(job)
    end
  end
until #page == 0 or #answer > most
return answer
