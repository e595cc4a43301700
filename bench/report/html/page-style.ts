/** Of every page that is made here. Colours of series: eight that differ for colour-blind eyes too, after Okabe and Ito, lighter on dark ground. */
export const PAGE_STYLE = `
:root{color-scheme:light dark;--ground:#fff;--panel:#f6f7f9;--ink:#1b1f24;--soft:#57606a;--rule:#d5dae0;--warn:#9a5b00;--warn-ground:#fff6e5;--bad:#b42318;
--c0:#0069b4;--c1:#d14b00;--c2:#00875f;--c3:#b3478c;--c4:#a97b00;--c5:#3a9bdc;--c6:#7446b5;--c7:#666d75}
@media (prefers-color-scheme:dark){:root{--ground:#14171b;--panel:#1d2126;--ink:#e7eaee;--soft:#9aa4af;--rule:#363c44;--warn:#f0b35a;--warn-ground:#2c2417;--bad:#ff8a7a;
--c0:#58aef2;--c1:#ff9350;--c2:#3ecf9c;--c3:#ef9ccb;--c4:#e5c04a;--c5:#9fdcff;--c6:#b89bf2;--c7:#b3bac2}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.55rem;line-height:1.25;margin:0 0 4px}h2{font-size:1.15rem;margin:36px 0 12px}h3{font-size:1rem;margin:20px 0 8px}
p{margin:0 0 8px}.soft{color:var(--soft)}code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}
pre{background:var(--panel);padding:10px 12px;border-radius:8px;white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 12px}
.warnings{border-left:4px solid var(--warn);background:var(--warn-ground);padding:10px 14px;border-radius:0 8px 8px 0;margin:18px 0}
.warnings h2{margin:0 0 4px;font-size:1rem;color:var(--warn)}.warnings ul{margin:0;padding-left:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--panel);border-radius:10px;padding:12px 14px}.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.88rem}
.scroll{overflow-x:auto;margin:0 0 8px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.87rem}
.wide table{width:100%}
th,td{padding:5px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{font-weight:600;vertical-align:bottom}th small{display:block;font-weight:400;color:var(--soft)}
th.left,td.left{text-align:left}td.words{min-width:170px;white-space:normal;overflow-wrap:anywhere;text-align:left}
td.red{color:var(--bad);font-weight:600}td.green{color:var(--c2)}td.yellow{color:var(--warn)}
tbody tr:hover{background:var(--panel)}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));gap:8px 20px;margin:0 0 8px}dl.facts dt{color:var(--soft);font-size:.84rem}dl.facts dd{margin:0;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:20px}
.charts.three{grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr))}
figure.chart{margin:0;background:var(--panel);border-radius:10px;padding:14px 14px 8px;min-width:0}
figcaption{font-weight:600;margin-bottom:4px}figcaption small{font-weight:400;color:var(--soft);margin-left:8px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 4px;padding:0;font-size:.86rem;color:var(--soft)}
.legend i{display:inline-block;width:20px;height:0;border-top:3px solid var(--c);margin-right:6px;vertical-align:middle}.legend i.dashed{border-top-style:dashed}.legend i.box{width:11px;height:11px;border:0;border-radius:2px;background:var(--c)}
svg{display:block;width:100%;height:auto;touch-action:pan-y}
svg text{fill:var(--ink);font-size:13px;font-family:inherit;font-variant-numeric:tabular-nums}svg text.tick,svg text.title{fill:var(--soft)}
.grid{stroke:var(--rule);stroke-width:1;opacity:.7}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.line.dashed{stroke-dasharray:6 5}
.band{fill:var(--c);opacity:.16}.dot{fill:var(--c)}.piece{fill:var(--c)}.here{fill:none;stroke:var(--ink);stroke-width:2}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
#tip{position:fixed;z-index:9;pointer-events:none;background:var(--ink);color:var(--ground);font-size:.84rem;line-height:1.4;padding:5px 9px;border-radius:6px;white-space:pre-line;max-width:280px}
details{border:1px solid var(--rule);border-radius:10px;margin:0 0 10px;padding:0 14px}details[open]{padding-bottom:14px}
summary{cursor:pointer;padding:10px 0;font-weight:600}summary span{font-weight:400;color:var(--soft);margin-left:8px}
@media (max-width:640px){main{padding:16px 12px 48px}h1{font-size:1.3rem}svg.large text{font-size:19px}.line{stroke-width:3}.tile b{font-size:1.25rem}figure.chart{padding:10px 8px 6px}}
@media print{details{break-inside:avoid}figure.chart{break-inside:avoid}}
`;
