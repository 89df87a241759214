-- C8 How often did providers' own tools run, and what do they cost?
-- Uses of the tools that a provider runs itself (searches, code, pictures), as the answers show them, and for web searches
-- the fee at the list's price. No other fee is known to the list, and none is part of any cost that is reckoned elsewhere.
-- uses: costs
-- chart: bars tool uses slice
SELECT
    slice,
    tool,
    count(DISTINCT run_id) AS runs,
    sum(weight) AS uses,
    CASE WHEN tool = 'web_search' THEN sum(CASE WHEN fee IS NULL THEN weight ELSE 0 END) ELSE sum(weight) END
        AS uses_without_price,
    CAST(CASE WHEN tool = 'web_search' THEN sum(fee * CAST(weight AS DECIMAL(18,6))) END AS DECIMAL(38,9)) AS fees_usd
FROM (
    SELECT
        a.slice AS slice,
        a.run_id AS run_id,
        a.weight AS weight,
        CASE
            WHEN s.kind IN ('web_search_call', 'web_search_tool_result') THEN 'web_search'
            WHEN s.kind IN ('web_fetch_tool_result') THEN 'web_fetch'
            WHEN s.kind IN ('file_search_call') THEN 'file_search'
            WHEN s.kind IN ('code_interpreter_call', 'code_execution_tool_result',
                'bash_code_execution_tool_result', 'text_editor_code_execution_tool_result') THEN 'code'
            WHEN s.kind IN ('image_generation_call') THEN 'images'
            WHEN s.kind IN ('mcp_call', 'mcp_tool_result') THEN 'mcp'
        END AS tool,
        a.web_search_usd_per_1000 * CAST(0.001 AS DECIMAL(4,3)) AS fee
    FROM asked a
    JOIN steps s ON s.run_id = a.run_id
) AS used
WHERE tool IS NOT NULL
GROUP BY slice, tool
ORDER BY slice, uses DESC, tool
