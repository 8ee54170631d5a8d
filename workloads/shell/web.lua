-- Which file each request of wrk asks for, and what is printed in the end. FILES, ZIPF and SEED are
-- set before. With ZIPF, file k is asked for in proportion to 1/k.
local percentiles = { 50, 99, 99.9 }

function init()
    math.randomseed(SEED)
end

function request()
    local drawn = math.random()
    local file = ZIPF and math.floor(FILES ^ drawn) or 1 + math.floor(FILES * drawn)
    return wrk.format("GET", string.format("/f%d", math.min(file, FILES)))
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("web requests=%d microseconds=%d bytes=%d\n", summary.requests, summary.duration, summary.bytes))
    io.write(string.format("web connect=%d read=%d write=%d status=%d timeout=%d\n",
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
    io.write(string.format("web mean=%.1f max=%d", latency.mean, latency.max))
    for _, each in ipairs(percentiles) do
        io.write(string.format(" p%g=%d", each, latency:percentile(each)))
    end
    io.write("\n")
end
