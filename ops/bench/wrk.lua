-- Asks for a path over and over; {time} in it is drawn anew each time, {ticker} and {minute} too.
-- Arguments: the path, the first and the last moment in Unix seconds, names of indexes, a seed.
-- Ends with one line of figures as JSON; times are microseconds.
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
   if path:find("{", 1, true) then
      request = function()
         return wrk.format("GET", (path:gsub("{(%a+)}", function(name) return draw[name]() end)))
      end
   end
end

function done(summary, latency)
   local faults = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration": %d, "p50": %d, "p99": %d, "most": %d, "errors": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      latency.max, faults.connect + faults.read + faults.write + faults.status + faults.timeout))
end
