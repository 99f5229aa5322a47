-- recency_scores: when refs were last used. Changes nothing; a key of another type knows of none.
-- KEYS  1 recency
-- ARGV  1.. refs
-- Answers OK, per ref its score, '' = not known.
local answer = {'OK'}
local whole = redis.call('TYPE', KEYS[1]).ok == 'zset'
for n = 1, #ARGV do
  answer[n + 1] = whole and redis.call('ZSCORE', KEYS[1], ARGV[n]) or ''
end
return answer
