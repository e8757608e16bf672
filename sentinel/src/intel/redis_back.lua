-- Takes back one request of a source that was counted (`redis.lua`) and not made.
-- KEYS: one per period. ARGV, two per period: kind (w: any 60 s; c: calendar), seconds to keep the key.
for i, key in ipairs(KEYS) do
  local kind, keep = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  if kind == 'w' then
    local all, latest = redis.call('HGETALL', key), nil
    for j = 1, #all, 2 do
      if tonumber(all[j + 1]) > 0 and (latest == nil or tonumber(all[j]) > tonumber(latest)) then
        latest = all[j]
      end
    end
    if latest then
      redis.call('HINCRBY', key, latest, -1)
    end
  else
    local count = tonumber(redis.call('GET', key) or '0')
    if count > 0 then
      redis.call('SET', key, count - 1, 'EX', keep)
    end
  end
end
return 1
