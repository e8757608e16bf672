-- Tells words that are newer than what is known of their subjects, and forgets those that are over; by this server's clock.
-- KEYS: stream, words by subject, subjects by end. ARGV: entries to keep, s that a word may be ahead, then subject, version,
-- mac, body and end (ms) of each word. Answers for each: 1 it was told, 0 everybody knew better, 2 it comes from the future.
local now = redis.call('TIME')
local latest = string.format('%011d%09d', now[1] + ARGV[2], now[2] * 1000)
local told = {}
for at = 3, #ARGV, 5 do
    local subject, version, mac, body, ends = unpack(ARGV, at, at + 4)
    local known = redis.call('HGET', KEYS[2], subject)
    if version > latest then
        told[#told + 1] = 2
    elseif known and string.match(known, '^[^\n]*') >= version then
        told[#told + 1] = 0
    else
        redis.call('HSET', KEYS[2], subject, version .. '\n' .. mac .. '\n' .. body)
        redis.call('ZADD', KEYS[3], ends, subject)
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'm', mac, 'b', body)
        told[#told + 1] = 1
    end
end
local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now[1] * 1000), 'LIMIT', 0, 64)
if #over > 0 then
    redis.call('HDEL', KEYS[2], unpack(over))
    redis.call('ZREM', KEYS[3], unpack(over))
end
return told
