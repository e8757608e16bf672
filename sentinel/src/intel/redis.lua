-- Counts one request of a source in all its periods, or in none.
-- KEYS: one per period. ARGV, five per period: kind (w: any 60 s; c: calendar), the count that the asking sentinel knows
-- of, what it spent without telling, the highest count allowed, seconds to keep the key (of w: its window).
-- Answers: {0 or the number of the period that is spent, the counts afterwards}.
local now = tonumber(redis.call('TIME')[1])
local refused, counts = 0, {}
for i, key in ipairs(KEYS) do
  local kind, floor, owed = ARGV[5 * i - 4], tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2])
  local ceiling, keep = tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
  local count = 0
  if kind == 'w' then
    local all = redis.call('HGETALL', key)
    for j = 1, #all, 2 do
      if tonumber(all[j]) <= now - keep then
        redis.call('HDEL', key, all[j])
      else
        count = count + tonumber(all[j + 1])
      end
    end
  else
    count = math.max(tonumber(redis.call('GET', key) or '0') + owed, floor)
  end
  if count >= ceiling and refused == 0 then
    refused = i
  end
  counts[i] = count
end
for i, key in ipairs(KEYS) do
  local kind, keep = ARGV[5 * i - 4], tonumber(ARGV[5 * i])
  if refused == 0 then
    counts[i] = counts[i] + 1
  end
  if kind == 'c' then
    redis.call('SET', key, counts[i], 'EX', keep)
  elseif refused == 0 then
    redis.call('HINCRBY', key, now, 1)
    redis.call('EXPIRE', key, keep)
  end
end
table.insert(counts, 1, refused)
return counts
