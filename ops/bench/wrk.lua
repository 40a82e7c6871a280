-- Repeats a request; {time}, {minute} and {ticker} in its path are random in each.
-- Arguments: path, first and last moment in Unix seconds, indexes, seed, "uncached" for a random ETag.
-- The last line of the output is JSON; times are microseconds.
local names = {}

function init(args)
   local path, first, last = args[1], tonumber(args[2]), tonumber(args[3])
   for name in args[4]:gmatch("[^,]+") do names[#names + 1] = name end
   math.randomseed(tonumber(args[5]))
   local draw = {
      time = function() return math.random(first, last) end,
      minute = function() return math.random(first / 60, last / 60) * 60 end,
      ticker = function() return names[math.random(#names)] end,
   }
   if args[6] == "uncached" then
      request = function()
         local etag = string.format('"%08x%08x"', math.random(0, 2^31 - 1), math.random(0, 2^31 - 1))
         return wrk.format("GET", path, {["If-None-Match"] = etag})
      end
   elseif path:find("{", 1, true) then
      request = function()
         return wrk.format("GET", (path:gsub("{(%a+)}", function(name) return draw[name]() end)))
      end
   end
end

function done(summary, latency)
   local faults = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration": %d, "p50": %d, "p99": %d, "errors": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      faults.connect + faults.read + faults.write + faults.status + faults.timeout))
end
